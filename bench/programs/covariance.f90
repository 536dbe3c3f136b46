! Covariance matrix of many samples of many variables. Usage: covariance [variables] [samples]
program covariance
  implicit none
  integer :: variables, samples, i, j, k
  integer(8) :: seed
  real(8) :: total
  real(8), allocatable :: values(:, :), means(:), result(:, :)

  variables = size_argument(1, 1600)
  samples = size_argument(2, 2500)
  allocate(values(samples, variables), means(variables), result(variables, variables))
  seed = 88172645463325252_8
  do j = 1, variables
    do i = 1, samples
      seed = ieor(seed, ishft(seed, 13))
      seed = ieor(seed, ishft(seed, -7))
      seed = ieor(seed, ishft(seed, 17))
      values(i, j) = real(ishft(seed, -11), 8) / 9007199254740992d0
    end do
  end do

  do j = 1, variables
    means(j) = sum(values(:, j)) / samples
    values(:, j) = values(:, j) - means(j)
  end do
  !$omp parallel do private(i, k, total) schedule(dynamic, 16)
  do j = 1, variables
    do i = j, variables
      total = 0d0
      do k = 1, samples
        total = total + values(k, i) * values(k, j)
      end do
      result(i, j) = total / (samples - 1)
      result(j, i) = result(i, j)
    end do
  end do
  print '(a, z16.16)', 'covariance ', checksum(result, size(result))

contains

  integer function size_argument(position, otherwise)
    integer, intent(in) :: position, otherwise
    character(32) :: text
    size_argument = otherwise
    if (command_argument_count() >= position) then
      call get_command_argument(position, text)
      read(text, *) size_argument
    end if
  end function

  ! Shifts and exclusive ors only: integers of Fortran do not wrap.
  integer(8) function checksum(data, count)
    real(8), intent(in) :: data(*)
    integer, intent(in) :: count
    integer :: at
    checksum = 88172645463325252_8
    do at = 1, count
      checksum = ieor(checksum, transfer(data(at), checksum))
      checksum = ieor(checksum, ishft(checksum, 13))
      checksum = ieor(checksum, ishft(checksum, -7))
      checksum = ieor(checksum, ishft(checksum, 17))
    end do
  end function
end program

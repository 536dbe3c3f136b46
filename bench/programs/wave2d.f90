! Wave equation on a membrane with damping, fourth order in space. Usage: wave2d [n] [steps]
program wave2d
  implicit none
  integer :: n, steps, step, i
  integer(8) :: seed
  real(8), allocatable :: before(:, :), now(:, :), next(:, :)

  n = size_argument(1, 1200)
  steps = size_argument(2, 300)
  allocate(before(n, n), now(n, n), next(n, n))
  before = 0d0
  now = 0d0
  next = 0d0
  seed = 88172645463325252_8
  do i = 1, n
    seed = ieor(seed, ishft(seed, 13))
    seed = ieor(seed, ishft(seed, -7))
    seed = ieor(seed, ishft(seed, 17))
    now(1 + int(mod(ishft(seed, -1), int(n, 8))), i) = real(ishft(seed, -11), 8) / 9007199254740992d0
  end do
  do step = 1, steps
    call advance(n, before, now, next)
    call advance(n, now, next, before)
    call advance(n, next, before, now)
  end do
  print '(a, z16.16)', 'now ', checksum(now, size(now))

contains

  subroutine advance(n, before, now, next)
    integer, intent(in) :: n
    real(8), intent(in) :: before(n, n), now(n, n)
    real(8), intent(inout) :: next(n, n)
    integer :: i, j
    real(8) :: laplacian
    !$omp parallel do private(i, laplacian)
    do j = 3, n - 2
      do i = 3, n - 2
        laplacian = (16d0 * (now(i - 1, j) + now(i + 1, j) + now(i, j - 1) + now(i, j + 1)) &
                     - (now(i - 2, j) + now(i + 2, j) + now(i, j - 2) + now(i, j + 2)) - 60d0 * now(i, j)) / 12d0
        next(i, j) = 1.999d0 * now(i, j) - 0.999d0 * before(i, j) + 0.2d0 * laplacian
      end do
    end do
  end subroutine

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

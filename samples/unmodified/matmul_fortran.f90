! Product of two square matrices, one column at a time. Usage: matmul_fortran [n]
subroutine multiply(n, a, b, c)
  implicit none
  integer, intent(in) :: n
  double precision, intent(in) :: a(n, n), b(n, n)
  double precision, intent(out) :: c(n, n)
  integer :: i, j, k

  do j = 1, n
    do i = 1, n
      c(i, j) = 0.0d0
    end do
    do k = 1, n
      do i = 1, n
        c(i, j) = c(i, j) + a(i, k) * b(k, j)
      end do
    end do
  end do
end subroutine multiply

program matmul_fortran
  implicit none
  integer :: n, i, j
  double precision, allocatable :: a(:, :), b(:, :), c(:, :)
  double precision :: total, trace
  character(len=32) :: argument

  n = 2000
  if (command_argument_count() >= 1) then
    call get_command_argument(1, argument)
    read (argument, *) n
  end if
  allocate (a(n, n), b(n, n), c(n, n))
  do j = 1, n
    do i = 1, n
      a(i, j) = dble(mod(7 * i + 3 * j, 101)) / 101.0d0 - 0.5d0
      b(i, j) = dble(mod(5 * i + 11 * j, 103)) / 103.0d0 - 0.5d0
    end do
  end do

  call multiply(n, a, b, c)

  total = 0.0d0
  trace = 0.0d0
  do j = 1, n
    do i = 1, n
      total = total + c(i, j)
    end do
    trace = trace + c(j, j)
  end do
  print '(a, i0)', 'n = ', n
  print '(a, es24.16)', 'sum    = ', total
  print '(a, es24.16)', 'trace  = ', trace
  print '(a, es24.16)', 'c(1,1) = ', c(1, 1)
  print '(a, es24.16)', 'c(n,n) = ', c(n, n)
end program matmul_fortran
